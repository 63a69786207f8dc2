"""What each command can be asked: light to import, so that help is quick; the work is in the modules beside this folder."""
