"""What was learned on other patients."""
