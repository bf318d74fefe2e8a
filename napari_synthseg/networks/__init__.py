"""The networks: `nn.Module`s and nothing else."""
