"""What tells a user that a result is not to be trusted: measured, and calibrated for a model."""
