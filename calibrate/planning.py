"""What to measure: from models to the plan file that the measuring part reads."""
