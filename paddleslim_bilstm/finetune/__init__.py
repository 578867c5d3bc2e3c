"""Fine-tuning the teacher: the tutorial's first step (``finetune.finetune``), for whoever has no classifier yet."""
