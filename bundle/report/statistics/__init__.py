"""Tests and intervals over nodules."""
