package sim

// check is where the laws of the world are looked at.
func (w *World) check() {}
