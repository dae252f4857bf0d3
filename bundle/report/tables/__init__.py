"""Tables of a study, for people and for tools."""
