"""Tables, statistics, figures and pages made from the tidy rows of a study."""
