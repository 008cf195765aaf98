"""Write an LSTM's kernels and biases as NumPy arrays: `fastlstm extract`, as a script.

python tools/extract_weights.py model.ckpt-4199 -o weights.npz
"""

import argparse
import sys

from fastlstm import cli
from fastlstm.cli import extract

parser = argparse.ArgumentParser(description=extract.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
extract.add_arguments(parser)
parser.set_defaults(command=extract.run)
sys.exit(cli.run(parser.parse_args()))
