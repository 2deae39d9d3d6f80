"""SGLang's memory model: static share, token pool, what lies in the rest, command line."""
