const pattern = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/

/** The trace that a request belongs to, of its `traceparent` header (W3C Trace Context); undefined where it names none, which is no error. */
export const traceIdOf = (header: string | string[] | undefined): string | undefined => {
  const id = typeof header === 'string' ? pattern.exec(header)?.[1] : undefined
  return id === '0'.repeat(32) ? undefined : id
}
