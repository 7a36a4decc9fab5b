import { stringifyPythonJson } from '../json/python-json.ts'
import { acceptedPrompt, messageData, messageType, type TraceLine } from './trace.ts'

const temporaryNames = /ComfyUI_temp_[a-z]{5}/g

/** What the server chose in the recording and what it chose this time: prompt ids, temporary names, entity tags, dates, the port. */
export class Substitutions {
  readonly #texts = new Map<string, string>()

  constructor(recordedPort: number, port: number) {
    this.add(`127.0.0.1:${recordedPort}`, `127.0.0.1:${port}`)
    this.add(`localhost:${recordedPort}`, `localhost:${port}`)
  }

  add(recorded: string, present: string): void {
    if (recorded !== present) this.#texts.set(recorded, present)
  }

  /** A recorded text as it has to be sent now. */
  apply(text: string): string {
    let applied = text
    for (const [recorded, present] of this.#texts) applied = applied.replaceAll(recorded, present)
    return applied
  }

  /** Learns from the same answer to the same request. */
  learnAnswer(recorded: TraceLine, present: TraceLine): void {
    const [recordedId, id] = [acceptedPrompt(recorded), acceptedPrompt(present)]
    if (recordedId !== undefined && id !== undefined) this.add(recordedId, id)
    for (const name of ['Etag', 'Last-Modified']) {
      const [was, is] = [recorded.headers?.[name], present.headers?.[name]]
      if (was !== undefined && is !== undefined) this.add(was, is)
    }
    this.#learnNames(recorded, present)
  }

  /** Learns from what the same node showed on the same socket, the first time, the second time and so on. */
  learnShown(recorded: TraceLine[], present: TraceLine[]): void {
    const shown = (lines: TraceLine[]) => lines.filter(line => messageType(line) === 'executed')
    for (const line of shown(recorded)) {
      const isTwin = (other: TraceLine) =>
        other.conn === line.conn && messageData(other).node === messageData(line).node && other !== line
      const before = shown(recorded.slice(0, recorded.indexOf(line))).filter(isTwin).length
      const twin = shown(present).filter(isTwin)[before]
      if (twin) this.#learnNames(line, twin)
    }
  }

  #learnNames(recorded: TraceLine, present: TraceLine): void {
    const names = ({ body }: TraceLine) =>
      typeof body === 'object' ? [...stringifyPythonJson(body).matchAll(temporaryNames)].map(String) : []
    const [was, is] = [names(recorded), names(present)]
    if (was.length === is.length) for (const [index, name] of was.entries()) this.add(name, is[index]!)
  }
}
