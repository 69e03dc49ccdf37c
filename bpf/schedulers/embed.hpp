// FLOE_OBJECT(NAME): floe_NAME.bpf.o as data, between floe_NAME_object and floe_NAME_object_end. Section and symbol kinds are those by
// which tools find a scheduler's objects in its executable.
#pragma once

#define FLOE_OBJECT(name)                            \
  asm(".pushsection .bpf.objs, \"a\", @progbits\n"   \
      ".balign 16\n"                                 \
      ".globl floe_" #name                           \
      "_object\n"                                    \
      ".type floe_" #name                            \
      "_object, @object\n"                           \
      "floe_" #name                                  \
      "_object:\n"                                   \
      ".incbin \"" FLOE_BPF_OBJECTS "/floe_" #name   \
      ".bpf.o\"\n"                                   \
      ".size floe_" #name "_object, . - floe_" #name \
      "_object\n"                                    \
      ".globl floe_" #name                           \
      "_object_end\n"                                \
      "floe_" #name                                  \
      "_object_end:\n"                               \
      ".popsection\n");                              \
  extern "C" const char floe_##name##_object[];      \
  extern "C" const char floe_##name##_object_end[]
