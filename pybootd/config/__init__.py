"""The .ini file: its options, its reader, its older spellings."""
