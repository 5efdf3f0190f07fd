package doveadm

// Pile makes the Writer believe that its session has piled up what it may.
func (w *Writer) Pile() { w.piled = maxPiled }
