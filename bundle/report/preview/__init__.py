"""What a dense volume looks like before and after, as a page and a picture beside it."""
