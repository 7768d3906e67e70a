module example.org/imps/tools/control-plane/idle

go 1.26.0
