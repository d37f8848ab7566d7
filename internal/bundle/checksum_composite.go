package bundle

import (
	"context"

	"go.uber.org/zap"
)

// composite computes the check sum of the check sums of an object's parts. Where its parts lie S3 tells only in answers
// to requests for parts, whose bodies are not wanted; as nearly all objects have parts of one size, the first one is
// tried for all. It is ok to fail: then the check sum stays unverified.
func (d *s3Download) composite(ctx context.Context, size int64) (sum []byte, ok bool, err error) {
	end, err := d.partEnd(ctx, 1, 0)
	if err != nil || end <= 0 {
		return d.unverified(ctx, err)
	}
	if ends := evenParts(size, end, d.sum.parts); ends != nil {
		sum, err = d.sumOfSums(ctx, ends)
		if err != nil || string(sum) == string(d.sum.want) {
			return sum, err == nil, err
		}
	}
	ends := []int64{end}
	for number := 2; number <= d.sum.parts; number++ {
		if end, err = d.partEnd(ctx, int32(number), end); err != nil {
			return d.unverified(ctx, err)
		}
		ends = append(ends, end)
	}
	if end != size {
		return d.unverified(ctx, nil)
	}
	sum, err = d.sumOfSums(ctx, ends)
	return sum, err == nil, err
}

func (d *s3Download) unverified(ctx context.Context, err error) ([]byte, bool, error) {
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	d.log.Debug("The composite check sum cannot be verified: the server does not tell the sizes of the parts",
		zap.String("bundle", d.name), zap.Error(err))
	return nil, false, nil
}

// partEnd asks for a part and returns where it ends; start is where it must begin.
func (d *s3Download) partEnd(ctx context.Context, number int32, start int64) (int64, error) {
	tries := d.newTries()
	for {
		r, err := d.get(ctx, request{part: number})
		if err == nil {
			r.close()
			if !r.ranged || r.start != start || r.end <= start {
				return 0, errNoRanges
			}
			return r.end, nil
		}
		if err := tries.again(ctx, err, false); err != nil {
			return 0, err
		}
	}
}

// evenParts returns the ends of parts of one size, the last one being smaller, nil when their number cannot be right.
func evenParts(size, partSize int64, number int) []int64 {
	if partSize <= 0 || size <= 0 || (size-1)/partSize+1 != int64(number) {
		return nil
	}
	ends := make([]int64, 0, number)
	for range number - 1 {
		ends = append(ends, int64(len(ends)+1)*partSize)
	}
	return append(ends, size)
}

func (d *s3Download) sumOfSums(ctx context.Context, ends []int64) ([]byte, error) {
	all := d.sum.kind.newHash()
	start := int64(0)
	for _, end := range ends {
		sum, err := hashSpan(ctx, d.file.file, d.sum.kind, start, end)
		if err != nil {
			return nil, err
		}
		all.Write(sum)
		start = end
	}
	return all.Sum(nil), nil
}
