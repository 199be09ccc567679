"""What a training run is made of and what it leaves; shared by the commands that make and use one."""
