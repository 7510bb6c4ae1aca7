package record

import "encoding/binary"

// DeleteHorizon is the time, in ms, from which on compaction may drop the batch's
// deletions (records of null value); false while it has none. It stands in the place of
// the base time, from which record times are counted all the same.
func (b Batch) DeleteHorizon() (ms int64, ok bool) {
	if b.Attributes()&attrDeleteHorizon == 0 {
		return 0, false
	}
	return b.BaseTime(), true
}

// Retain returns a copy of b, behind dst, with those of its records for which keep, by
// their index, is true, as compaction leaves it: offsets, last offset, producer, leader
// epoch, codec and kind of time are as they were. horizon, unless negative, becomes the
// batch's delete horizon. r is used to read b.
func Retain(dst []byte, b Batch, r *Reader, keep []bool, horizon int64) (Batch, error) {
	attributes, base := b.Attributes(), b.BaseTime()
	if horizon >= 0 {
		attributes, base = attributes|attrDeleteHorizon, horizon
	}
	if err := r.Reset(b); err != nil {
		return nil, err
	}
	var out Builder
	out.Reset(dst, base)
	for i := 0; r.Next(); i++ {
		if rec := r.Record(); keep[i] {
			out.AddAt(int32(rec.Offset-b.BaseOffset()), rec.Time, rec.Key, rec.Value, rec.Headers...)
		}
	}
	if r.Err() != nil {
		return nil, r.Err()
	}
	out.Cover(b.LastOffsetDelta())
	c := out.Finish()
	copy(c[offBaseOffset:offLength], b[offBaseOffset:])
	copy(c[offEpoch:offMagic], b[offEpoch:])
	binary.BigEndian.PutUint16(c[offAttributes:], uint16(attributes&^codecMask))
	if b.AppendTime() {
		copy(c[offMaxTime:offProducer], b[offMaxTime:])
	}
	copy(c[offProducer:offCount], b[offProducer:])
	c.seal()
	if b.Codec() == None {
		return c, nil
	}
	return Recompress(nil, c, b.Codec())
}
