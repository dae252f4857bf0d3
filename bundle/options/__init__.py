"""Options of the configs: what each is, the values that it takes, and the check of them before anything runs."""

from bundle.options.check import check_base, check_options, config_content
from bundle.options.kinds import Kind
from bundle.options.table import OPTIONS, Option

__all__ = ["OPTIONS", "Kind", "Option", "check_base", "check_options", "config_content"]
