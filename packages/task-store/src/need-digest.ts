import { createHash } from 'node:crypto'
import type { Need } from '@comfy-balancer/contract/need'

/** The name of a need in keys: equal needs, equal digests. The need's lists must be sorted, as admission makes them. */
export const needDigest = (need: Need): string =>
  createHash('sha256').update(JSON.stringify(need)).digest('hex').slice(0, 24)
