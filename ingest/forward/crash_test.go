package forward

func child(dir string) {}
