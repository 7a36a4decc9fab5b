import { IncomingMessage } from 'node:http'

/**
 * A request that upgrades to WebSocket or not at all. Node takes every `Upgrade` header for one as soon as somebody listens for upgrades;
 * clients that offer HTTP/2 over clear text (Java's, curl --http2) would lose their requests.
 */
export class UpgradeRequest extends IncomingMessage {
  offersUpgrade = false

  get upgrade(): boolean {
    return this.offersUpgrade && (this.method === 'CONNECT' || /^websocket$/i.test(this.headers.upgrade ?? ''))
  }

  set upgrade(value: boolean) {
    this.offersUpgrade = value
  }
}
