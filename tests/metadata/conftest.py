import pathlib
import sys

# With this import mode of pytest, tests can import neighbouring modules in no other way.
sys.path.insert(0, str(pathlib.Path(__file__).parent))
