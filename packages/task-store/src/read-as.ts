/** Reads JSON that some other program wrote; undefined when it is none or not of the kind that `isOne` accepts. */
export const readAs = <T>(text: string, isOne: (value: unknown) => value is T): T | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return isOne(value) ? value : undefined
  } catch {
    return undefined
  }
}
