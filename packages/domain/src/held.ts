import type { Need } from '@comfy-balancer/contract/need'
import { modelsOf } from './capability.ts'
import type { NodeView } from './policy.ts'

/** What a node holds while it runs an attempt: what it reports, or the attempt's models alone where its report is from before. */
export const heldDuring = ({ resident }: NodeView, need: Need): ReadonlySet<string> => {
  const models = modelsOf(need)
  return models.length > 0 && models.every(model => resident.has(model)) ? resident : new Set(models)
}
