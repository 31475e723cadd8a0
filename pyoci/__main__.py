# SPDX-License-Identifier: Apache-2.0
"""`python -m pyoci`: the command line, from a checkout or wherever the package happens to be."""

from __future__ import annotations

from pyoci.cli import main

if __name__ == "__main__":
    main()
