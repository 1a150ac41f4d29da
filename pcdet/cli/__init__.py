"""The commands: their options, help and set-up. Each module has a `main(argv)`."""
