import pathlib
import sys

# With pytest's import mode, a test cannot import a module beside it in any other way.
sys.path.insert(0, str(pathlib.Path(__file__).parent))
