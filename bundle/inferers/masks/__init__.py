"""Mask methods: outlines between observed outlines."""
