// The least driver of floe's virtio-console that there can be: finds the function at 00:01.0, places its BAR, agrees on MULTIPORT and
// VERSION_1, sets up the control queues and port 1's transmit queue, opens port 1, and sends. It polls; no interrupt is routed.
#include "payload.h"

#define ECAM_FUNCTION UINT64_C(0xd0008000)  // 00:01.0
#define BAR UINT64_C(0xe0000000)

enum { QUEUE_CONTROL_RECEIVE = 2, QUEUE_CONTROL_TRANSMIT = 3, QUEUE_TRANSMIT = 5, QUEUES = 6 };
enum { SETUP_IDENTITY = 1, SETUP_CAPABILITIES, SETUP_FEATURES, SETUP_QUEUE, SETUP_PORTS };
enum { CONTROL_DEVICE_READY = 0, CONTROL_PORT_ADD = 1, CONTROL_PORT_READY = 3, CONTROL_PORT_OPEN = 6 };

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
};
struct control {
  uint32_t port;
  uint16_t event, value;
};
struct frame_header {  // vmm/wire.hpp
  uint32_t magic;
  uint16_t version, flags;
  uint32_t type, length;
  uint64_t sequence;
  uint32_t payload_crc, header_crc;
};

static uint64_t common, notify;
static uint32_t notify_multiplier;
static uint16_t available[QUEUES];  // chains offered so far, wrapping
static uint64_t notify_at[QUEUES];
static uint32_t crc_table[256];
static int set_up;

static uint8_t read8(uint64_t at) {
  return *(volatile uint8_t*)at;
}
static uint32_t read32(uint64_t at) {
  return *(volatile uint32_t*)at;
}
static void write8(uint64_t at, uint8_t value) {
  *(volatile uint8_t*)at = value;
}
static uint16_t read16(uint64_t at) {
  return *(volatile uint16_t*)at;
}
static void write16(uint64_t at, uint16_t value) {
  *(volatile uint16_t*)at = value;
}
static void write32(uint64_t at, uint32_t value) {
  *(volatile uint32_t*)at = value;
}

static uint64_t queue_base(unsigned queue) {
  return TINY_QUEUES + (uint64_t)queue * TINY_QUEUE_BYTES;
}
static uint64_t buffer(unsigned slot) {
  return TINY_BUFFERS + (uint64_t)slot * 4096;
}
static volatile uint16_t* used_index(unsigned queue) {
  return (volatile uint16_t*)(queue_base(queue) + 0x2002);
}

static void offer(unsigned queue, uint64_t address, uint32_t length, uint16_t flags) {
  const uint16_t slot = available[queue] % TINY_QUEUE_SIZE;
  volatile struct descriptor* descriptor = (volatile struct descriptor*)queue_base(queue) + slot;
  descriptor->address = address;
  descriptor->length = length;
  descriptor->flags = flags;
  descriptor->next = 0;
  *(volatile uint16_t*)(queue_base(queue) + 0x1004 + 2 * (uint64_t)slot) = slot;
  barrier();  // x86 keeps stores in order; the compiler must as well
  *(volatile uint16_t*)(queue_base(queue) + 0x1002) = ++available[queue];
}

static void tell(unsigned queue) {
  write16(notify_at[queue], (uint16_t)queue);
}
static uint16_t in_flight(unsigned queue) {
  return (uint16_t)(available[queue] - *used_index(queue));
}

static int find_capabilities(void) {
  for (uint32_t at = read8(ECAM_FUNCTION + 0x34); at != 0; at = read8(ECAM_FUNCTION + at + 1)) {
    if (read8(ECAM_FUNCTION + at) != 0x09) continue;  // vendor: struct virtio_pci_cap
    const uint64_t offset = BAR + read32(ECAM_FUNCTION + at + 8);
    const uint8_t type = read8(ECAM_FUNCTION + at + 3);
    if (type == 1) common = offset;
    if (type == 2) {
      notify = offset;
      notify_multiplier = read32(ECAM_FUNCTION + at + 16);
    }
  }
  return common != 0 && notify != 0;
}

static int agree_on_features(void) {
  write8(common + 0x14, 0);
  write8(common + 0x14, 1);         // ACKNOWLEDGE
  write8(common + 0x14, 3);         // DRIVER
  write32(common + 0x08, 0);        // low features
  write32(common + 0x0c, 1u << 1);  // MULTIPORT
  write32(common + 0x08, 1);
  write32(common + 0x0c, 1);    // VERSION_1
  write8(common + 0x14, 0x0b);  // FEATURES_OK
  return (read8(common + 0x14) & 8) != 0;
}

static int enable_queue(uint16_t queue) {
  write16(common + 0x16, queue);
  if (read16(common + 0x18) < TINY_QUEUE_SIZE) return 0;
  write16(common + 0x18, TINY_QUEUE_SIZE);
  for (unsigned part = 0; part < 3; ++part) {
    write32(common + 0x20 + 8 * part, (uint32_t)(queue_base(queue) + 0x1000 * part));
    write32(common + 0x24 + 8 * part, 0);
  }
  *(volatile uint16_t*)(queue_base(queue) + 0x1000) = 1;  // no interrupts
  notify_at[queue] = notify + (uint64_t)read16(common + 0x1e) * notify_multiplier;
  write16(common + 0x1c, 1);
  return read16(common + 0x1c) == 1;
}

static void say(uint32_t port, uint16_t event, uint16_t value) {
  static volatile struct control message;
  message.port = port;
  message.event = event;
  message.value = value;
  offer(QUEUE_CONTROL_TRANSMIT, (uint64_t)&message, sizeof message, 0);
  tell(QUEUE_CONTROL_TRANSMIT);
  while (in_flight(QUEUE_CONTROL_TRANSMIT) != 0) barrier();
}

// The handshake of virtio 1.x, 5.3.6.2: device ready, its ports, port ready, open both ways.
static int open_port(void) {
  enum { kMessages = 16, kMessageBytes = 64 };
  static uint8_t replies[kMessages][kMessageBytes];
  for (unsigned i = 0; i < kMessages; ++i) offer(QUEUE_CONTROL_RECEIVE, (uint64_t)replies[i], kMessageBytes, 2);
  tell(QUEUE_CONTROL_RECEIVE);
  say(0, CONTROL_DEVICE_READY, 1);
  uint16_t seen = 0;
  unsigned added = 0;
  for (int host_open = 0; !host_open;) {
    while (*used_index(QUEUE_CONTROL_RECEIVE) == seen) barrier();
    const volatile struct control* reply = (const volatile struct control*)replies[seen % kMessages];
    if (seen == kMessages - 1) return 0;  // more than the device has to say
    ++seen;
    if (reply->event == CONTROL_PORT_ADD) {
      say(reply->port, CONTROL_PORT_READY, 1);
      ++added;
    }
    host_open = reply->event == CONTROL_PORT_OPEN && reply->port == 1 && reply->value == 1;
  }
  say(1, CONTROL_PORT_OPEN, 1);
  return added == 2;
}

static void make_crc_table(void) {
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
    crc_table[i] = value;
  }
}

static uint32_t crc32(const volatile uint8_t* bytes, uint64_t count) {
  uint32_t value = ~0u;
  for (uint64_t i = 0; i < count; ++i) value = value >> 8 ^ crc_table[(value ^ bytes[i]) & 0xff];
  return ~value;
}

static int start_driver(void) {
  if (read32(ECAM_FUNCTION) != 0x10431af4) return SETUP_IDENTITY;
  write32(ECAM_FUNCTION + 0x10, (uint32_t)BAR);
  write16(ECAM_FUNCTION + 0x04, 6);  // memory, bus master
  if (!find_capabilities()) return SETUP_CAPABILITIES;
  if (!agree_on_features()) return SETUP_FEATURES;
  for (uint16_t queue = 0; queue < QUEUES; ++queue)
    if (!enable_queue(queue)) return SETUP_QUEUE;
  write8(common + 0x14, 0x0f);  // DRIVER_OK
  make_crc_table();
  return open_port() ? 0 : SETUP_PORTS;
}

// The page of the next chain, once the device has given it back.
static uint64_t free_buffer(void) {
  if (in_flight(QUEUE_TRANSMIT) + 1u > TINY_QUEUE_SIZE) tell(QUEUE_TRANSMIT);
  while (in_flight(QUEUE_TRANSMIT) >= TINY_QUEUE_SIZE) barrier();
  return buffer(available[QUEUE_TRANSMIT] % TINY_QUEUE_SIZE);
}

static void write_frame(uint64_t at, uint64_t sequence, uint64_t counter, uint64_t payload_bytes) {
  volatile struct frame_header* header = (volatile struct frame_header*)at;
  volatile uint64_t* payload = (volatile uint64_t*)(at + sizeof *header);
  payload[0] = sequence;
  payload[1] = counter;
  header->magic = 0x454f4c46;
  header->version = 1;
  header->flags = 0;
  header->type = 0x54494e59;  // "TINY"
  header->length = (uint32_t)payload_bytes;
  header->sequence = sequence;
  header->payload_crc = crc32((const volatile uint8_t*)payload, payload_bytes);
  header->header_crc = crc32((const volatile uint8_t*)header, 28);
}

static void send_garbage(uint64_t area, uint64_t bytes) {
  uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
  while (bytes != 0) {
    const uint64_t piece = bytes < 4096 ? bytes : 4096;
    const uint64_t at = free_buffer();
    for (uint64_t i = 0; i < 4096; i += 8) {  // xorshift64
      random ^= random << 13;
      random ^= random >> 7;
      random ^= random << 17;
      *(volatile uint64_t*)(at + i) = random;
    }
    status_of(area)->garbage_sent += piece;
    barrier();
    offer(QUEUE_TRANSMIT, at, (uint32_t)piece, 0);
    if (in_flight(QUEUE_TRANSMIT) % 32 == 0) tell(QUEUE_TRANSMIT);
    bytes -= piece;
  }
}

static void send_frames(uint64_t area, uint32_t mode) {
  const volatile struct tiny_parameters* parameters = parameters_of(area);
  volatile struct tiny_status* status = status_of(area);
  volatile uint64_t* counter = (volatile uint64_t*)(area + TINY_COUNTER);
  volatile uint64_t* mirror = (volatile uint64_t*)(area + TINY_MIRROR);
  uint64_t unnotified = 0;
  while (parameters->mode == mode && (parameters->frame_limit == 0 || status->sent < parameters->frame_limit)) {
    for (uint64_t turn = 0; turn < parameters->pace; ++turn) {
      ++*counter;
      *mirror = *counter;
    }
    const uint64_t payload = parameters->frame_payload;
    const uint64_t at = free_buffer();
    write_frame(at, status->sent, *counter, payload);
    ++status->sent;
    barrier();
    offer(QUEUE_TRANSMIT, at, (uint32_t)(sizeof(struct frame_header) + payload), 0);
    if (++unnotified < parameters->frame_batch) continue;
    tell(QUEUE_TRANSMIT);
    unnotified = 0;
  }
  tell(QUEUE_TRANSMIT);
}

void send(uint64_t area, uint32_t mode) {
  status_of(area)->done = 0;
  if (!set_up) {
    status_of(area)->driver_error = (uint64_t)start_driver();
    set_up = 1;
  }
  if (status_of(area)->driver_error != 0) return;
  if (mode == TINY_GARBAGE) send_garbage(area, parameters_of(area)->garbage_bytes);
  send_frames(area, mode);
  while (in_flight(QUEUE_TRANSMIT) != 0) barrier();
  status_of(area)->done = 1;
}
