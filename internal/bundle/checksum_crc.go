package bundle

import (
	"hash/crc32"

	"github.com/minio/crc64nvme"
)

// crcKind is a reflected CRC of up to 64 bits: its lowest bit belongs to the highest power of x.
type crcKind struct {
	// one is the polynomial 1, and so the highest bit.
	one uint64
	// poly is the generator without its highest power.
	poly   uint64
	update func(crc uint64, b []byte) uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	crc64NVME = crcKind{1 << 63, 0x9a6c9329ac4bc9b5, crc64nvme.Update}
	crc32C    = crcKind{1 << 31, crc32.Castagnoli, func(crc uint64, b []byte) uint64 {
		return uint64(crc32.Update(uint32(crc), castagnoli, b))
	}}
	crc32IEEE = crcKind{1 << 31, crc32.IEEE, func(crc uint64, b []byte) uint64 {
		return uint64(crc32.Update(uint32(crc), crc32.IEEETable, b))
	}}
)

// combine returns the CRC of two byte strings in a row from the CRCs of each: the first one is moved up by the length
// of the second one, modulo the generator. What the algorithm inverts before and after cancels out.
func (k *crcKind) combine(first, second uint64, secondLength int64) uint64 {
	return k.multiply(first, k.power(uint64(secondLength))) ^ second
}

// power returns x to the power of 8n.
func (k *crcKind) power(n uint64) uint64 {
	result, square := k.one, k.one>>8 // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			result = k.multiply(result, square)
		}
		square = k.multiply(square, square)
	}
	return result
}

// multiply returns the product of two polynomials modulo the generator.
func (k *crcKind) multiply(a, b uint64) (product uint64) {
	for bit := k.one; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		carry := b & 1
		b >>= 1
		b ^= k.poly & -carry
	}
	return product
}
