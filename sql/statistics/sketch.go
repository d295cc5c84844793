package statistics

import (
	"math"
	"math/bits"
)

// sketch counts distinct values in 4 KiB, within 2 % (HyperLogLog).
type sketch struct {
	regs []uint8
	// few holds the first hashes exactly: most columns that matter have few values.
	few map[uint64]struct{}
}

const (
	sketchBits = 12
	sketchFew  = 1024
)

func (k *sketch) add(h uint64) {
	if k.regs == nil {
		if k.few == nil {
			k.few = map[uint64]struct{}{}
		}
		k.few[h] = struct{}{}
		if len(k.few) <= sketchFew {
			return
		}
		k.regs = make([]uint8, 1<<sketchBits)
		for h := range k.few {
			k.put(h)
		}
		k.few = nil
		return
	}
	k.put(h)
}

func (k *sketch) put(h uint64) {
	// Hash again: the registers want bits that are independent of each other.
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	i := h >> (64 - sketchBits)
	rank := uint8(bits.LeadingZeros64(h<<sketchBits|1<<(sketchBits-1)) + 1)
	k.regs[i] = max(k.regs[i], rank)
}

func (k *sketch) estimate() float64 {
	if k.regs == nil {
		return float64(len(k.few))
	}
	m := float64(len(k.regs))
	sum, zero := 0.0, 0
	for _, r := range k.regs {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zero++
		}
	}
	e := 0.7213 / (1 + 1.079/m) * m * m / sum
	if e <= 2.5*m && zero > 0 {
		return m * math.Log(m/float64(zero))
	}
	return e
}
