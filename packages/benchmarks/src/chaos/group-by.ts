/** The values under the names that `nameOf` gives them, in their order. */
export const groupBy = <T>(values: readonly T[], nameOf: (value: T) => string): Map<string, T[]> => {
  const groups = new Map<string, T[]>()
  for (const value of values) {
    const name = nameOf(value)
    const group = groups.get(name)
    if (group) group.push(value)
    else groups.set(name, [value])
  }
  return groups
}
