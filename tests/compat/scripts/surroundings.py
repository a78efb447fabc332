"""What a script may expect of the process: arguments, its name, modules beside it."""
import os
import sys

import helper_beside

assert __name__ == "__main__"
assert os.path.samefile(sys.path[0], os.path.dirname(os.path.abspath(__file__)))
print(helper_beside.NAME, sys.argv[1:], os.path.basename(__file__))
