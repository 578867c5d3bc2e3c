"""What a run reports: each model's quality, size and speed; the machine; where the time went."""
