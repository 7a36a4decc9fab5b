import type { InputValues } from './prepare-inputs.ts'

/** Both sets of replaced texts as one; `later` wins where both replace the same. */
export const mergedValues = (earlier: InputValues, later: InputValues): InputValues =>
  new Map(
    [...new Set([...earlier.keys(), ...later.keys()])].map(id => [
      id,
      new Map([...(earlier.get(id) ?? []), ...(later.get(id) ?? [])])
    ])
  )
