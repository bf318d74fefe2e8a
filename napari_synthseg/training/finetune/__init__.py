"""Fine-tuning on labelled scans: UNETR and Swin UNETR (Zhang et al., "Pretrain Once and Finetune Many Times"), and any
network of SynthSeg's kinds, mixed with synthetic images so that it does not forget other contrasts.
"""
