"""`python -m heie_hf.cli`, for what starts a command as a module, such as `accelerate launch -m`."""

from . import main

if __name__ == "__main__":
    main()
