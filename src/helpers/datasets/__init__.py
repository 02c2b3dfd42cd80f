"""From texts to training samples and test questions, their audit and their card (notebook 02)."""
