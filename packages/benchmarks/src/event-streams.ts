import { once } from 'node:events'
import { type ClientRequest, get, type IncomingMessage } from 'node:http'

const atOnce = 200

/**
 * Opens an event stream for each of these tasks, each on a connection of its own, and resolves when each has told what it had to; `onData`
 * is given what comes after that. Returns how to close them.
 */
export const openStreams = async (
  url: string,
  tasks: readonly string[],
  onData: (text: string) => void = () => {}
): Promise<() => Promise<void>> => {
  const requests: ClientRequest[] = []
  const open = async (task: string): Promise<void> => {
    const request = get(`${url}/api/v1/tasks/${task}/events`, { agent: false })
    request.on('error', () => {})
    requests.push(request)
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    if (response.statusCode !== 200) throw new Error(`a follower was answered ${response.statusCode}`)
    response.setEncoding('utf8')
    await once(response, 'data')
    response.on('error', () => {}).on('data', onData)
  }
  for (let i = 0; i < tasks.length; i += atOnce) await Promise.all(tasks.slice(i, i + atOnce).map(open))
  return async () => {
    const closed = requests.map(request => once(request, 'close'))
    for (const request of requests) request.destroy()
    await Promise.all(closed)
  }
}
