"""Fine-tuning: the trainer, packed batches, and what a run costs (notebooks 03 and 06)."""
