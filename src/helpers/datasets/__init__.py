"""From texts to training samples and test questions, with their audit and card (notebook 02)."""
