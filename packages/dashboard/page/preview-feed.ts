import type { TaskEvent, TaskPreview } from '@comfy-balancer/contract/event'
import type { SocketNotice, SocketRequest } from '@comfy-balancer/contract/socket'
import { useEffect, useState } from 'preact/hooks'

type Show = (preview: TaskPreview) => void

const firstRetryMs = 2_000
const maxRetryMs = 60_000

/** One socket for all tasks: a browser opens few connections to one host, and there may be many nodes. */
const watched = new Map<string, Set<Show>>()
let socket: WebSocket | undefined
let retryMs = firstRetryMs

const say = (request: SocketRequest): void => {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(request))
}

const connect = (): void => {
  if (socket || watched.size === 0) return
  const address = new URL('./api/v1/ws', location.href)
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'
  socket = new WebSocket(address)
  socket.onopen = () => {
    retryMs = firstRetryMs
    for (const taskId of watched.keys()) say({ type: 'subscribe', taskId, previews: true })
  }
  socket.onmessage = ({ data }) => hear(JSON.parse(data) as TaskEvent | SocketNotice)
  socket.onclose = () => {
    socket = undefined
    setTimeout(connect, retryMs)
    retryMs = Math.min(2 * retryMs, maxRetryMs)
  }
}

const hear = (message: TaskEvent | SocketNotice): void => {
  if (message.type !== 'task.preview' || !message.preview?.mediaType.startsWith('image/')) return
  for (const show of watched.get(message.taskId) ?? []) show(message.preview)
}

const watch = (taskId: string, show: Show): (() => void) => {
  const shows = watched.get(taskId) ?? new Set()
  watched.set(taskId, shows.add(show))
  if (shows.size === 1) say({ type: 'subscribe', taskId, previews: true })
  connect()
  return () => {
    shows.delete(show)
    if (shows.size > 0) return
    watched.delete(taskId)
    say({ type: 'unsubscribe', taskId })
  }
}

/** The latest preview of a running task as an image's address; undefined until there is one, and while `task` is null. */
export const usePreview = (task: string | null): string | undefined => {
  const [shown, setShown] = useState<{ readonly task: string; readonly preview: TaskPreview }>()
  useEffect(() => (task === null ? undefined : watch(task, preview => setShown({ task, preview }))), [task])
  if (!shown || shown.task !== task) return undefined
  return `data:${shown.preview.mediaType};base64,${shown.preview.data}`
}
