"""What a server of MONAI Label needs beside the bundle: requests checked, answers on the grid that viewers expect."""

from bundle.label.mask import carry_mask, onto_full_grid, threshold_nodule
from bundle.label.request import Request, read_request, whole_number
from bundle.label.server import PrepareAnswer, PrepareRequest, ServedInferer

__all__ = [
    "PrepareAnswer",
    "PrepareRequest",
    "Request",
    "ServedInferer",
    "carry_mask",
    "onto_full_grid",
    "read_request",
    "threshold_nodule",
    "whole_number",
]
