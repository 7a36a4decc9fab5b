import { openSocket } from '@comfy-balancer/contract/endpoints/following'
import type { App } from '@comfy-balancer/service-kit/server'
import { type Socket, socketRoute as serveSockets } from '@comfy-balancer/service-kit/socket-route'
import type { FollowingDeps } from './following-deps.ts'
import { SocketSession } from './socket-session.ts'

const pingMs = 30_000

/** Adds the WebSocket for the events of many tasks. */
export const socketRoute = (app: App, following: FollowingDeps): void => {
  serveSockets(app, openSocket, (socket, request) => {
    const leave = following.followers.join()
    if (!leave) return socket.close(1013, 'too many follow tasks here; try again later')
    const session = new SocketSession(socket, request.caller, { ...following, log: request.log })
    const done = app.openStreams.add(() => socket.close(1001, 'this service is shutting down'))
    const stopPings = keepAlive(socket)
    socket.on('message', data => session.receive(String(data)))
    socket.on('close', () => {
      stopPings()
      session.end()
      done()
      leave()
    })
  })
}

/** Ends a socket whose other side has not answered a ping. Returns how to stop. */
const keepAlive = (socket: Socket): (() => void) => {
  let isAlive = true
  socket.on('pong', () => {
    isAlive = true
  })
  const pings = setInterval(() => {
    if (!isAlive) socket.terminate()
    else socket.ping()
    isAlive = false
  }, pingMs)
  return () => clearInterval(pings)
}
