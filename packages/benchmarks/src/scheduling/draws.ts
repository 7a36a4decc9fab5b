import type { Random } from '../chaos/random.ts'

/** The time until something that happens at random, this often in the mean. */
export const exponential = (random: Random, mean: number): number => -Math.log(1 - random()) * mean

/** Box and Muller; only one of the two is used. */
const normal = (random: Random): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())

/** Log-normal with this mean; `sigma` is the standard deviation of its logarithm. */
export const logNormal = (random: Random, mean: number, sigma: number): number =>
  mean * Math.exp(sigma * normal(random) - sigma ** 2 / 2)

/** A factor whose logarithm errs by so much, right in the median. */
export const noise = (random: Random, sigma: number): number => Math.exp(sigma * normal(random))

/** Bounded Pareto: many small, few very large. */
export const boundedPareto = (random: Random, shape: number, least: number, most: number): number => {
  const ratio = (least / most) ** shape
  return least / (1 - random() * (1 - ratio)) ** (1 / shape)
}

/** The mean of `boundedPareto`. */
export const boundedParetoMean = (shape: number, least: number, most: number): number =>
  ((shape * least ** shape) / (shape - 1)) *
  ((least ** (1 - shape) - most ** (1 - shape)) / (1 - (least / most) ** shape))

/** One of `count` numbers from 0 on, the k-th in proportion to 1 ÷ (k + 1). */
export const zipf = (count: number): ((random: Random) => number) => {
  const shares = Array.from({ length: count }, (_, k) => 1 / (k + 1))
  const total = shares.reduce((sum, share) => sum + share, 0)
  return random => {
    let left = random() * total
    for (const [k, share] of shares.entries()) {
      left -= share
      if (left < 0) return k
    }
    return count - 1
  }
}
