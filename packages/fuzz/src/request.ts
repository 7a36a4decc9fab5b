/** A request as it goes over the wire. */
export type WireRequest = {
  readonly method: string
  /** Path and query, escaped. */
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | undefined
  /** What was made wrong on purpose, for people; empty when nothing was. */
  readonly twist: string
}

/** What came back. `body` is what was read of it: at most 4 MiB, of an event stream only its beginning. */
export type WireAnswer = {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** A request in one line, so that it can be sent again by hand. */
export const describeRequest = ({ method, target, headers, body, twist }: WireRequest): string => {
  const shown = Object.entries(headers).filter(([name]) => name !== 'authorization')
  const flags = shown.map(([name, value]) => ` -H ${JSON.stringify(`${name}: ${value}`.slice(0, 120))}`).join('')
  const data =
    body === undefined ? '' : ` -d ${JSON.stringify(body.toString('utf8').slice(0, 600))} (${body.length} bytes)`
  return `${method} ${target.slice(0, 400)}${flags}${data}${twist && ` [${twist}]`}`
}
