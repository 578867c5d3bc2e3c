"""The subcommands of ``paddleslim-bilstm``, a file each; `cli` imports the one that is asked for."""
