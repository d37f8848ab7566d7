package report

import "strings"

// Suggest returns the known word that word was most likely meant to be, or "" when none is near.
// Differences in case, blanks, dashes and underscores count for nothing; beyond that about one letter in
// three may be wrong, missing, doubled or swapped. Of two equally near words the first in known wins.
func Suggest(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	plain := fold(word)
	if len(plain) == 0 {
		return ""
	}
	best, bestDistance := "", 0
	for _, k := range known {
		if k == word {
			continue
		}
		d := distance(plain, fold(k))
		if d > reach(plain, fold(k)) {
			continue
		}
		if best == "" || d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// reach is the largest number of wrong letters that still lets two words pass for one another.
func reach(a, b []rune) int {
	return (min(len(a), len(b)) + 1) / 3
}

// fold drops what people vary without meaning to.
func fold(word string) []rune {
	return []rune(strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '-', '_', ':', '.', '\u00a0', '\u200b', '\ufeff':
			return -1
		}
		return r
	}, strings.ToLower(word)))
}

// distance counts the letters to insert, drop, replace or swap with their neighbour to get from a to b.
func distance(a, b []rune) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
