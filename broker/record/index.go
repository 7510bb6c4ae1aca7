package record

// Index appends where each record of an uncompressed batch begins, as byte positions
// within the batch, so that ResetAt can go to one of them without a walk.
func Index(dst []uint32, b Batch) ([]uint32, error) {
	var r Reader
	if err := r.Reset(b); err != nil {
		return dst, err
	}
	if b.Codec() != None {
		return dst, ErrCodec
	}
	for r.left > 0 {
		at := uint32(len(b) - len(r.rest))
		if !r.Next() {
			return dst, r.err
		}
		dst = append(dst, at)
	}
	return dst, nil
}

// ResetAt begins with the one record that Index found at a position.
func (r *Reader) ResetAt(b Batch, at uint32) error {
	if err := r.Reset(b); err != nil {
		return err
	}
	if b.Codec() != None || int(at) < HeaderLen || int(at) >= len(b) {
		r.err = ErrInvalid
		return r.err
	}
	r.left, r.rest = 1, b[at:]
	return nil
}
